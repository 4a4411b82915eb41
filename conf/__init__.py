"""Makes this folder the package `smartoken_conf`, so that an installed Smartoken carries its default files."""
