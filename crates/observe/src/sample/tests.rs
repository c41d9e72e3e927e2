//! What machines print, as they printed it: Debian 12, busybox (Alpine), and the forms of Amazon
//! Linux 2023 with systemd.

use super::*;
use crate::service::Told;

const FOLDERS: [&str; 3] = ["/var/lib/portway", "/var/log", "/"];

fn read(printed: &str, config: &str) -> Machine {
    machine(printed, &FOLDERS, config, "2026-06-15T12:00:00Z".parse().unwrap())
}

#[test]
fn debian_and_busybox_print_the_same() {
    for printed in [include_str!("debian.txt"), include_str!("busybox.txt")] {
        let machine = read(printed, "/tmp/obs/ng/nginx.conf");
        let cpu = machine.cpu.unwrap();
        assert!(cpu.busy > 7_000_000 && cpu.busy < cpu.total, "{cpu:?}");
        let memory = machine.memory.unwrap();
        assert_eq!(memory.total, 24_684_100 << 10);
        assert!(memory.available < memory.total);
        assert_eq!(machine.load.unwrap().len(), 3);
        assert!(machine.uptime.unwrap() > 45_000.0);
        let network = machine.network.unwrap();
        assert!(network.received < 3_000_000_000, "the loopback is left out: {network:?}");
        for disk in machine.disks {
            let disk = disk.unwrap();
            assert_eq!(disk.total, 264_212_084 << 10);
            assert!(disk.free < disk.total);
        }
        let service = machine.service.unwrap();
        assert!(service.running && service.told_by == Told::Processes, "{service:?}");
        assert!(machine.time.unwrap() > 1_795_000_000);
    }
}

#[test]
fn another_nginx_on_the_machine_is_not_the_nodes() {
    let machine = read(include_str!("debian.txt"), "/etc/nginx/nginx.conf");
    assert!(!machine.service.unwrap().running);
}

#[test]
fn amazon_linux_is_read() {
    let machine = read(include_str!("amazon.txt"), "/etc/nginx/nginx.conf");
    assert_eq!(machine.time, Ok(1_781_524_800));
    assert_eq!(machine.cpu, Ok(Cpu { busy: 58_221, total: 8_885_961 }));
    assert_eq!(machine.memory, Ok(Memory { total: 949_476 << 10, available: 541_312 << 10 }));
    assert_eq!(machine.load, Ok([0.0, 0.01, 0.05]));
    assert_eq!(machine.network, Ok(Traffic { received: 1_048_576_000, sent: 52_428_800 }));
    assert_eq!(machine.disks[0], Ok(Disk { total: 8_310_764 << 10, free: 6_672_136 << 10 }));
    let service = machine.service.unwrap();
    assert_eq!((service.told_by, service.state.as_str()), (Told::Systemd, "active (running)"));
    assert_eq!(service.since.unwrap().to_string(), "2026-06-14T12:00:12.5Z");
}

#[test]
fn what_a_machine_does_not_say_is_told_with_the_reason() {
    let machine = read("@time\nnoon\n@stat\n@memory\nMemTotal: 7 kB\n@load\n", "/x");
    assert!(machine.time.unwrap_err().contains("`noon`"));
    assert!(machine.cpu.unwrap_err().contains("says nothing"));
    assert!(machine.memory.unwrap_err().contains("not understood"), "kernels before 3.14");
    assert!(machine.uptime.unwrap_err().contains("ended before"));
    assert!(machine.service.is_err());
    assert!(machine.disks.iter().all(Result::is_err));
}

#[test]
fn disks_with_spaces_in_their_names_are_read() {
    let text = "Filesystem 1024-blocks Used Available Capacity Mounted on\n\
                //nas/big share 1000 400 600 40% /mnt\n";
    assert_eq!(disk(text), Some(Disk { total: 1000 << 10, free: 600 << 10 }));
    assert_eq!(disk("Filesystem 1024-blocks Used Available Capacity Mounted on\n"), None);
}
