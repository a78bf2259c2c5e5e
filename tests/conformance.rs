//! Every implementation of a trait goes through the trait's conformance suite, fakes included.

mod destinations;
mod notifiers;
mod receivers;
mod sources;

use std::future::Future;

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}
