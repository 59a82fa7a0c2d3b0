//! smol's own reactor and hyper, reading at most 1 KiB at once.

use llmperf_agents::{jobs, print_about, run, Error};
use llmperf_agents::native_client::{self, Small};

async fn ask(base: String, body: String) -> Result<String, Error> {
    let stream = smol::net::TcpStream::connect(native_client::host(&base)).await?;
    native_client::ask(Small(stream), base, body).await
}

fn main() -> Result<(), Error> {
    smol::block_on(async {
        let tasks: Vec<_> = jobs()?.into_iter().map(|job| smol::spawn(run(job, ask))).collect();
        for task in tasks {
            task.await?;
        }
        print_about("smol-1kb");
        Ok(())
    })
}
