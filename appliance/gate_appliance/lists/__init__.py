"""Category lists: reading them, compiling them into one mapped file, and looking names up in it.

``formats`` reads texts (``rpz`` those that are zones), ``compile`` writes the file, ``index`` maps it; marisa-trie is known to this
package only. ``download`` and ``transfer`` get lists from elsewhere. ``work`` does what takes long in a process of its own: ``jobs``.

``catalogue.toml`` names published lists that a school may choose.

``starter/`` holds a short list for most categories, named by the category, so that a new appliance filters before
its first update. They were written for this project from general knowledge. The illegal tier has none: the names in
it must not be published, so that its lists come under licence from those who keep them, into places that are there
for them. Nor do the hosts of testfiltering.com appear: a test that passes because its probe is listed proves nothing.

``names/`` holds the fixed sets of name rules: ``canaries``, ``protected`` and ``essential``.
"""
