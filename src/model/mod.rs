//! The multi-head Q-network: its checkpoint, its layers, its forward pass. No tensor type leaves
//! this module.
//!
//! * [`checkpoint`]: PyTorch's `.pth` files, read without running anything in them, and written so
//!   that PyTorch opens them.
//! * [`architecture`]: the network's layers, found and checked in the names and shapes of a
//!   checkpoint's tensors.
//! * [`network`]: those layers in libtorch, and one forward pass for many pods.
//! * [`learner`]: the same network learning from entries, and its checkpoint.
//! * [`room_learner`]: the heads that tell how much room a container needs, learning.
//! * [`inspect`]: what the command line prints of a checkpoint.

mod adam;
pub mod architecture;
pub mod checkpoint;
mod error;
pub mod inspect;
pub mod learner;
pub mod network;
pub mod room_learner;
pub mod shipped;

pub use checkpoint::{Checkpoint, NamedTensor};
pub use error::ModelError;
pub use network::{Network, use_one_thread};
