import Glibc

@testable import KafkaLog

exit(Command(Array(CommandLine.arguments.dropFirst())).run())
