"""What `make demo` is made of; the story itself is in `demo.py`."""
