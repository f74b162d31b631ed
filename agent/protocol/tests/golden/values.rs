use tunmesh_protocol::{Ipv4Cidr, Stamp};

use crate::recording::{read, time};

#[test]
fn stamps_are_those_of_the_original_to_the_nanosecond() {
    for vector in read("vectors.json")["stamps"].as_array().unwrap() {
        // The original computes in floats, whose step at this time of the world is 238 ns; our input is whole nanoseconds.
        let ours = Stamp::at(time(&vector["unix_time"])).as_raw();

        assert!(ours.abs_diff(vector["internal_stamp"].as_u64().unwrap()) <= 1, "{vector}");
    }
}

#[test]
fn subnets_contain_and_broadcast_as_in_the_original() {
    for vector in read("vectors.json")["net_address"].as_array().unwrap() {
        let cidr: Ipv4Cidr = vector["cidr"].as_str().unwrap().parse().unwrap();
        assert_eq!(cidr.address().to_string(), vector["address"].as_str().unwrap());
        // The original takes the first number of a netmask for the prefix length, and uses it nowhere.
        let prefix = vector["prefix"].as_u64().filter(|prefix| *prefix <= 32).unwrap_or(16);
        assert_eq!(u64::from(cidr.prefix_len()), prefix);
        assert_eq!(cidr.network().to_string(), vector["network_address"].as_str().unwrap());
        for (address, expected) in vector["probes"].as_object().unwrap() {
            let address: std::net::Ipv4Addr = address.parse().unwrap();
            assert_eq!(cidr.contains(address), expected["include"].as_bool().unwrap(), "{cidr} {address}");
            assert_eq!(address.is_multicast(), expected["multicast"].as_bool().unwrap(), "{cidr} {address}");
            // The original fails for a netmask, and takes the address of a /32 for its broadcast address.
            if let (0..=30, Some(expected)) = (cidr.prefix_len(), expected["broadcast"].as_bool()) {
                let broadcast = cidr.broadcast() == Some(address) || address.is_broadcast();
                assert_eq!(broadcast, expected, "{cidr} {address}");
            }
        }
    }
}
