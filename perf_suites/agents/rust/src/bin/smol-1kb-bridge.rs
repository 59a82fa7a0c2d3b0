//! smol-bridge in pieces of 1 KiB, as TR115 had it.

use llmperf_agents::{jobs, print_about, run, Error};
use async_compat::Compat;
use llmperf_agents::reqwest_client::ask_1kb;

fn main() -> Result<(), Error> {
    smol::block_on(async {
        let tasks: Vec<_> = jobs()?.into_iter().map(|job| smol::spawn(Compat::new(run(job, ask_1kb)))).collect();
        for task in tasks {
            task.await?;
        }
        print_about("smol-1kb-bridge");
        Ok(())
    })
}
