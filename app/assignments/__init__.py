"""One item leased to one labeler; its pages are the desk."""
