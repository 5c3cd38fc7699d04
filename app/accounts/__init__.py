"""People: sign-in, roles, labeler pools, API tokens, audit trail."""
