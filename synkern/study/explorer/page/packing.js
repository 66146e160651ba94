// Numbers out of the text of the page, bit by bit: what synkern/study/explorer/packing.py packed.

const packing = {
  bytes(text) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return bytes;
  },

  // {dtype, data}; null stays null.
  array(packed) {
    if (packed === null) return null;
    const buffer = packing.bytes(packed.data).buffer;
    return packed.dtype === "f8" ? new Float64Array(buffer) : new Int32Array(buffer);
  },

  // The upper triangle of a matrix, row by row with the diagonal, from the element of that name.
  async triangle(name) {
    const text = document.getElementById(name).textContent.trim();
    const inflated = new Blob([packing.bytes(text)])
      .stream()
      .pipeThrough(new DecompressionStream("deflate"));
    const planes = new Uint8Array(await new Response(inflated).arrayBuffer());
    const count = planes.length / 4;
    const bytes = new Uint8Array(planes.length);
    for (let plane = 0; plane < 4; plane++) {
      const from = plane * count;
      for (let i = 0; i < count; i++) bytes[4 * i + plane] = planes[from + i];
    }
    return new Float32Array(bytes.buffer);
  },

  // Where the triangle of a matrix of n rows has the pair of i and j.
  place(n, i, j) {
    return i <= j ? (i * (2 * n - i + 1)) / 2 + j - i : (j * (2 * n - j + 1)) / 2 + i - j;
  },
};
