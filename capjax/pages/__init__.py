"""HTML pages of one file each: templates, one stylesheet and small scripts, all inside the page. Pages work without a
network and without a server."""
