"""The filters compressor and decompressor, with their rules and libraries."""
