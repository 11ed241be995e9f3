//! `portMappings`, as rbox publishes ports.

use rbox_net::Publish;

use crate::conf::PortMapping;
use crate::failure::{Code, Failure, Outcome};

/// The `-p` that says the same.
pub(crate) fn publish(mapping: &PortMapping) -> Outcome<Publish> {
    let PortMapping { host_port, container_port, protocol, host_ip } = mapping;
    // `rbox -p` would take 0 for any port; here it is a mistake, as portmap says too.
    if *host_port == 0 {
        return Err(Failure::new(Code::Configuration, "portMappings: hostPort 0 is no port"));
    }
    let at = match host_ip.as_str() {
        "" => String::new(),
        ip if ip.contains(':') => format!("[{ip}]:"),
        ip => format!("{ip}:"),
    };
    let protocol = if protocol.is_empty() { "tcp" } else { protocol };
    let text = format!("{at}{host_port}:{container_port}/{protocol}");
    text.parse().map_err(|error| Failure::new(Code::Configuration, format!("portMappings: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Result<String, String> {
        let mapping: PortMapping = serde_json::from_str(text).unwrap();
        let told = |failure: Failure| failure.said_in("1.1.0")["msg"].as_str().unwrap_or_default().to_owned();
        let publish = publish(&mapping).map_err(told)?;
        let ip = publish.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
        let host = publish.host.map(|host| host.to_string()).unwrap_or_default();
        Ok(format!("{ip} {host} {} {}", publish.container, publish.protocol))
    }

    #[test]
    fn each_mapping_is_a_published_port() {
        assert_eq!(said(r#"{"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}"#).unwrap(), " 8080 80 tcp");
        let at = r#"{"hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": "127.0.0.1"}"#;
        assert_eq!(said(at).unwrap(), "127.0.0.1 53 5353 udp");
        let capital = r#"{"HostPort": 80, "ContainerPort": 8080, "Protocol": "tcp", "HostIP": ""}"#;
        assert_eq!(said(capital).unwrap(), " 80 8080 tcp");
        let six = r#"{"hostPort": 80, "containerPort": 80, "hostIP": "2001:db8::2"}"#;
        assert_eq!(said(six).unwrap(), "2001:db8::2 80 80 tcp");
        assert!(said(r#"{"hostPort": 0, "containerPort": 80}"#).unwrap_err().contains("hostPort 0"));
        assert!(said(r#"{"hostPort": 80, "containerPort": 70000}"#).unwrap_err().contains("70000"));
        assert!(said(r#"{"hostPort": 80, "containerPort": 80, "protocol": "icmp"}"#).unwrap_err().contains("icmp"));
    }
}
