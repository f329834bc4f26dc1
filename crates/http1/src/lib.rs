//! The HTTP/1.1 codec, sans I/O: strict head, framing, target, chunks, answers, writing.
