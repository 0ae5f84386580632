import ArgumentParser

@main
struct Ottla: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ottla",
        abstract: "Apache Kafka's protocol, log and group coordination in one native binary.",
        discussion: """
            Start a broker on localhost:9092 that any Kafka client can use:

              ottla serve

            and, in another terminal:

              echo 'hello' | kcat -b localhost:9092 -t greetings -P
              kcat -b localhost:9092 -t greetings -C -e

            'ottla help serve' tells where settings come from.
            """,
        version: "ottla \(ottlaVersion) (Kafka protocol of 4.3)",
        subcommands: [Serve.self, Log.self])
}

let ottlaVersion = "0.1.0"
