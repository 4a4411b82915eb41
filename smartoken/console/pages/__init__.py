"""The pages, one file each with `routes(gateway)`. How one is added: smartoken/console/__init__.py."""
