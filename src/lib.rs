//! dqn-scaler: gives every pod of a Kubernetes cluster the CPU and memory it needs, in place.
//!
//! A multi-head deep Q-network decides DECREASE, MAINTAIN or INCREASE for the CPU and the memory of
//! each pod; a guard stands between it and the cluster; the pod is resized in place, or the
//! template of its workload is patched.
//!
//! The modules stand on floors, and none imports from a floor above its own:
//!
//! * [`core`]: how a decision is made, without I/O; a package of its own
//! * [`clock`], [`blocking`], [`files`], [`logging`]: the time that the service lives in; long work
//!   on async threads; files from outside; the log
//! * [`config`]: defaults, file, environment, flags and updates at run time
//! * [`model`]: the `.pth` file and the network in libtorch
//! * [`sim`]: a simulated cluster, and the Kubernetes API over it
//! * [`train`]: the learning environment, training and evaluation
//! * [`client`]: one call to the API server: errors, retries, connection
//! * [`prometheus`]: what Prometheus has recorded of containers
//! * [`migrate`]: from another autoscaler to this one
//! * [`leader`]: the election of the replica that acts
//! * [`cluster`]: the Kubernetes client: caches, usage, resizes, templates, events
//! * [`metrics`]: what Prometheus is told
//! * [`scaler`]: the loop: observe, decide, act
//! * [`store`]: what outlives the process
//! * [`service`]: the shared state, and the service from start to stop
//! * [`api`]: the HTTP API and the dashboard's files
//! * [`terminal`]: what an operator asks a running service from a terminal
//! * [`cli`]: the command line

pub mod api;
pub mod blocking;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod files;
pub mod leader;
pub mod logging;
pub mod metrics;
pub mod migrate;
pub mod model;
pub mod prometheus;
pub mod scaler;
pub mod service;
pub mod sim;
pub mod store;
pub mod terminal;
pub mod train;

pub use dqn_scaler_core as core;
