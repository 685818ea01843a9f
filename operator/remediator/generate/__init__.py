"""
What is written down once in code and needed elsewhere as files: CRDs, roles and reference pages.

`python -m remediator.generate` writes them all. The same code writes the same bytes, so a test that
generates again and compares finds every file that somebody edited by hand, or forgot.
"""
