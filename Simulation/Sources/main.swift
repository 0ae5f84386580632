import Glibc

@testable import KafkaLog

exit(Command.run(Array(CommandLine.arguments.dropFirst())))
