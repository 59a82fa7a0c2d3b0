//! Tokio's multi-thread runtime with work stealing, and reqwest.

use llmperf_agents::{jobs, print_about, reqwest_client::ask, run, Error};

fn main() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let tasks: Vec<_> = jobs()?.into_iter().map(|job| tokio::spawn(run(job, ask))).collect();
        for task in tasks {
            task.await??;
        }
        print_about("tokio-default");
        Ok(())
    })
}
