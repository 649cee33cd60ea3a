"""The transformer, which prints the modules that it has imported when it ends."""

import sys

from serving.__main__ import main

if __name__ == "__main__":
    main()
    print("imported:", *sys.modules)
