"""What the scripts in src/ share: one noun a module."""
