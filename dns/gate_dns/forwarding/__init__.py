"""Questions to the upstreams: whom to ask, over what, and what came of it. It knows no client and no policy."""
