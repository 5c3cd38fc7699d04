"""What all pages and all of REST share: who asks, templates, responses, errors, security, Markdown, monitoring."""
