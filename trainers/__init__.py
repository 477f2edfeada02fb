"""Training scripts, linear and readable top to bottom. Started as processes; the product never imports them."""
