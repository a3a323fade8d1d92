//! A link's delay, jitter and loss where the kernel has no `netem`: both ends speak VXLAN (RFC 7348) to this process, which
//! hands each of their packets over late, or not at all. Packets may overtake each other, as with `netem`.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::sleep;

use crate::site::Weather;

/// VXLAN's own port.
pub(crate) const PORT: u16 = 4789;
/// More than one packet of a link whose packets have 1,450 bytes.
const PACKET: usize = 2048;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Our addresses, the peer's behind each.
    #[arg(long, num_args = 2, required = true)]
    near: Vec<Ipv4Addr>,
    #[arg(long, num_args = 2, required = true)]
    far: Vec<Ipv4Addr>,
    #[command(flatten)]
    weather: Weather,
}

/// Carries packets both ways until killed.
///
/// # Errors
/// When an address is not ours.
pub(crate) async fn carry(arguments: Arguments) -> Result<(), String> {
    let bind = async |address: Ipv4Addr| {
        let socket = UdpSocket::bind((address, PORT)).await;
        socket.map(Arc::new).map_err(|error| format!("cannot listen on {address}: {error}"))
    };
    let (near, far) = (bind(arguments.near[0]).await?, bind(arguments.far[0]).await?);
    tokio::join!(
        one_way(&near, &far, arguments.far[1], arguments.weather),
        one_way(&far, &near, arguments.near[1], arguments.weather)
    );
    Ok(())
}

async fn one_way(from: &UdpSocket, to: &Arc<UdpSocket>, peer: Ipv4Addr, weather: Weather) {
    let mut packet = [0; PACKET];
    while let Ok(length) = from.recv(&mut packet).await {
        if fastrand::u8(0..100) < weather.loss {
            continue;
        }
        let (packet, to, late) = (packet[..length].to_vec(), Arc::clone(to), weather.some_delay());
        tokio::spawn(async move {
            sleep(late).await;
            // A cable that is not plugged in loses it.
            let _ = to.send_to(&packet, (peer, PORT)).await;
        });
    }
}

impl Weather {
    fn some_delay(self) -> Duration {
        let (least, most) = (self.delay.saturating_sub(self.jitter), self.delay + self.jitter);
        Duration::from_millis(fastrand::u64(least..=most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_as_late_as_the_weather_says() {
        let weather = Weather { delay: 150, jitter: 30, loss: 0 };
        let delays: Vec<u128> = (0..1000).map(|_| weather.some_delay().as_millis()).collect();
        assert!(delays.iter().all(|delay| (120..=180).contains(delay)));
        assert!(delays.iter().any(|delay| *delay < 135) && delays.iter().any(|delay| *delay > 165));
    }
}
