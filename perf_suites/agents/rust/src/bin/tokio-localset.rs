//! Tokio's current-thread runtime with a LocalSet, and reqwest.

use llmperf_agents::{jobs, print_about, reqwest_client::ask, run, Error};
use tokio::task::{spawn_local, LocalSet};

fn main() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let tasks: Vec<_> = jobs()?.into_iter().map(|job| spawn_local(run(job, ask))).collect();
        for task in tasks {
            task.await??;
        }
        print_about("tokio-localset");
        Ok(())
    })
}
