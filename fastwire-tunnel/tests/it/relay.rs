//! A bad line between two UDP ends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;

/// Forwards between any number of clients and `server`, losing `percent` of the datagrams and holding back a tenth of the
/// rest for 5 ms. Its address.
pub(crate) async fn relay(server: SocketAddr, percent: u64) -> SocketAddr {
    let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = front.local_addr().unwrap();
    tokio::spawn(async move {
        let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
        let mut dice = Dice(7);
        let mut buffer = [0; 2048];
        loop {
            let Ok((len, from)) = front.recv_from(&mut buffer).await else { continue };
            let back = match backs.get(&from) {
                Some(back) => back.clone(),
                None => {
                    let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                    tokio::spawn(answers(back.clone(), front.clone(), from, percent));
                    backs.insert(from, back.clone());
                    back
                }
            };
            pass(&mut dice, percent, &back, &buffer[..len], server).await;
        }
    });
    address
}

async fn answers(back: Arc<UdpSocket>, front: Arc<UdpSocket>, client: SocketAddr, percent: u64) {
    let mut dice = Dice(u64::from(client.port()));
    let mut buffer = [0; 2048];
    while let Ok(len) = back.recv(&mut buffer).await {
        pass(&mut dice, percent, &front, &buffer[..len], client).await;
    }
}

async fn pass(dice: &mut Dice, percent: u64, socket: &Arc<UdpSocket>, datagram: &[u8], to: SocketAddr) {
    if dice.percent(percent) {
        return;
    }
    if dice.percent(10) {
        let (socket, datagram) = (socket.clone(), datagram.to_vec());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let _ = socket.send_to(&datagram, to).await;
        });
    } else {
        let _ = socket.send_to(datagram, to).await;
    }
}

/// Every datagram's fate, from a seed.
struct Dice(u64);

impl Dice {
    fn percent(&mut self, chance: u64) -> bool {
        // Knuth's MMIX generator; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % 100 < chance
    }
}
