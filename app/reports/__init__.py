"""Problems that labelers report about items, and the replies of admins."""
