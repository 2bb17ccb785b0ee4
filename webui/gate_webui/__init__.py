"""The coordinator's pages over HTTPS, and the block page for pupils over HTTP."""
