/// Settings that are asked for by name, where they are used.
extension KafkaConfig {
    /// The value of a broker config in its canonical form; empty where there is none.
    func text(_ name: String) -> String { self.lookup([name])?.value ?? "" }

    /// 0 where it is no number.
    func int64(_ name: String) -> Int64 { Int64(self.text(name)) ?? 0 }

    /// A setting of type boolean.
    func isOn(_ name: String) -> Bool { self.text(name) == "true" }
}
