"""python -m vaebm_toolkit: the same as `vaebm`."""

from vaebm_toolkit.cli import main

if __name__ == "__main__":
    main()
