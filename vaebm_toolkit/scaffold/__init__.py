"""New plugins from templates: `templates/` holds every file, this package fills in names. Torch-free.

templates/parts/KIND/options.py, KIND.py   a part that works; the same text in packages and in single files
templates/parts/KIND/about.toml            what is said about it
templates/*.txt, templates/licences        what all packages have; $name and the like are filled in
"""
