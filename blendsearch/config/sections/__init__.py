"""The sections of space and board files: keys, types, limits and defaults; nothing here reads files."""
