"""A GGUF file of a tiny model, and a package that carries one in pieces."""

import hashlib
import json

import gguf
import numpy as np
from safetensors.torch import load_file


def write_gguf(file, folder, *, kind="gpt2", adds_bos=None, **tokens):
    """The Llama of a folder as a GGUF file, with a vocabulary of its own.

    Its tokenizer is of a kind, and says or not whether it adds a beginning token. Special tokens
    can be given by their names there, such as `eos=5`, or None for none.
    """
    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre("gpt-2" if kind == "gpt2" else "default")
    words = [*"abcdefghijklmnopqrstu", "v" if kind == "gpt2" else "▁", "cd", "ab"]
    writer.add_token_list(words)
    writer.add_token_types([1] * len(words))
    if kind == "gpt2":
        writer.add_token_merges(["a b", "c d"])
    else:
        writer.add_token_scores([-float(n) for n in range(len(words))])
    if adds_bos is not None:
        writer.add_add_bos_token(adds_bos)
    for name, number in ({"bos": 1, "eos": 2} | tokens).items():
        if number is not None:
            writer.add_uint32(f"tokenizer.ggml.{name}_token_id", number)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        kind = names.get_name(name, try_suffixes=(".weight",))
        values = tensor.numpy()
        if "q_proj" in name or "k_proj" in name:  # GGUF interleaves the halves of rotation
            heads = len(values) // config["head_dim"]
            values = values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2)
            values = values.reshape(tensor.shape)
        writer.add_tensor(kind, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


class Pieces:
    """Packages that carry a file in pieces, as pip would have put them into `site`."""

    name = "made-up"
    distribution = "made-up-gguf"
    file = "made-up.gguf"

    def __init__(self, site, content, parts=3):
        self.site, self.parts = site, parts
        (site / "made_up_gguf-1.2.dist-info").mkdir(parents=True)
        (site / "made_up_gguf-1.2.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {self.distribution}\nVersion: 1.2\n"
        )
        self.sums = self._data("made_up_gguf") / "SHA256SUMS"
        self.sums.write_text(f"{hashlib.sha256(content).hexdigest()}  {self.file}\n")
        length = -(-len(content) // max(parts, 1))
        for n in range(parts):
            self.piece(n).write_bytes(content[n * length : (n + 1) * length])

    def _data(self, package):
        folder = self.site / package / "data"
        folder.mkdir(parents=True, exist_ok=True)
        # Whoever imports it has gone wrong.
        (folder.parent / "__init__.py").write_text("raise AssertionError('imported')\n")
        return folder

    def piece(self, number, package=None):
        """The path of a piece, in the package after that of its number unless another is given."""
        package = number + 1 if package is None else package
        return self._data(f"made_up_gguf_part{package}") / f"{self.file}.part{number:02}"

    def reverse(self):
        """Put the pieces into the packages in the reverse order."""
        contents = [self.piece(n).read_bytes() for n in range(self.parts)]
        for n in range(self.parts):
            self.piece(n).unlink()
        for n, content in enumerate(contents):
            self.piece(n, self.parts - n).write_bytes(content)
