"""The toolkit from Python and notebooks: what `import vaebm_toolkit as vt` offers beside the plugin contract.

It is imported when first used. Nothing here changes the process it works in: not the global generator, the
default dtype, the number of threads or the working folder.
"""
