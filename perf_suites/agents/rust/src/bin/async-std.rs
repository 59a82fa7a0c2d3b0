//! async-std's own reactor, and hyper.

use llmperf_agents::{jobs, print_about, run, Error};
use llmperf_agents::native_client;

async fn ask(base: String, body: String) -> Result<String, Error> {
    let stream = async_std::net::TcpStream::connect(native_client::host(&base)).await?;
    native_client::ask(stream, base, body).await
}

fn main() -> Result<(), Error> {
    async_std::task::block_on(async {
        let tasks: Vec<_> = jobs()?.into_iter().map(|job| async_std::task::spawn(run(job, ask))).collect();
        for task in tasks {
            task.await?;
        }
        print_about("async-std");
        Ok(())
    })
}
