//! The multi-head Q-network: its checkpoint, its features, its forward pass. No tensor type leaves this module.
