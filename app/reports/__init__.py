"""Problems that labelers report about items, and what admins answer."""
