"""Finished images handed to the systems of shops: Akeneo, Shopify, WooCommerce."""
