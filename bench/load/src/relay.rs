//! A relay of bytes, without a look at them: the floor for any proxy on this machine.

use std::rc::Rc;

use tokio::net::{TcpListener, TcpStream};

use crate::args::Args;

pub(crate) async fn run(args: Rc<Args>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(&args.listen).await?;
    loop {
        let (mut caller, _) = listener.accept().await?;
        let args = Rc::clone(&args);
        tokio::task::spawn_local(async move {
            let mut upstream = TcpStream::connect(&args.host).await?;
            caller.set_nodelay(true)?;
            upstream.set_nodelay(true)?;
            tokio::io::copy_bidirectional(&mut caller, &mut upstream).await
        });
    }
}
