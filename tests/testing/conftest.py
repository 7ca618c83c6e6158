"""The mutants are importable by name, as a plugin's modules are."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
