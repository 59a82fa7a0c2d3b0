//! smol's executor around a Tokio reactor, and reqwest, as TR115 had it.

use llmperf_agents::{jobs, print_about, run, Error};
use async_compat::Compat;
use llmperf_agents::reqwest_client::ask;

fn main() -> Result<(), Error> {
    smol::block_on(async {
        let tasks: Vec<_> = jobs()?.into_iter().map(|job| smol::spawn(Compat::new(run(job, ask)))).collect();
        for task in tasks {
            task.await?;
        }
        print_about("smol-bridge");
        Ok(())
    })
}
