"""What a running solve needs: its monitor, and threads."""
