// A program that runs launches from a file, on arrays of their exact size: so that a sanitizer sees
// all of a kernel, and nothing of Python. See cuda_shim.Recorder.

#pragma once

#include <cstdio>
#include <fstream>
#include <iterator>

#include "shim.h"

namespace replay {

class Reader {
   public:
    explicit Reader(const char* path)
        : file_(path, std::ios::binary), at_(std::istreambuf_iterator<char>(file_)) {}

    bool done() const { return at_ == std::istreambuf_iterator<char>(); }
    std::vector<char> bytes(size_t count) {
        std::vector<char> found(count);
        for (auto& byte : found) byte = *at_++;
        return found;
    }
    long long number() {
        long long value;
        std::memcpy(&value, bytes(sizeof value).data(), sizeof value);
        return value;
    }

   private:
    std::ifstream file_;
    std::istreambuf_iterator<char> at_;
};

inline void launch(Reader& from, shim::Order order) {
    const auto name = from.bytes(from.number());
    const auto blocks = from.number(), threads = from.number(), count = from.number();
    std::vector<std::unique_ptr<char[]>> arrays;
    std::vector<std::vector<char>> numbers;
    std::vector<void*> values(count), pointers(count);
    for (long long k = 0; k < count; ++k) {
        const bool array = from.number() != 0;
        const auto content = from.bytes(from.number());
        char* to = nullptr;
        if (array) {
            arrays.emplace_back(new char[content.size()]);
            pointers[k] = to = arrays.back().get();
            values[k] = &pointers[k];
        } else {
            numbers.emplace_back(content.size());
            values[k] = to = numbers.back().data();
        }
        std::copy(content.begin(), content.end(), to);
    }
    const char* failed = shim_launch(std::string(name.begin(), name.end()).c_str(),
                                     unsigned(blocks), unsigned(threads), values.data(), order, 7);
    if (failed != nullptr) {
        std::fprintf(stderr, "%s\n", failed);
        std::exit(1);
    }
}

}  // namespace replay

int main(int, char** arguments) {
    for (replay::Reader from(arguments[1]); !from.done();) replay::launch(from, shim::RANDOM);
}
