// Micro-benchmarks: processor time of the parts that every record or request goes through, each beside a bare loop that
// does the least possible for the same result. `script/bench micro [WORD]...` runs the rows that contain a word.

let comparison = Comparison(filter: Array(CommandLine.arguments.dropFirst()))
comparison.messages()
comparison.checksums()
comparison.records()
comparison.logs()
comparison.compaction()
comparison.recovery()
comparison.topics()
comparison.coordination()
comparison.consumerGroups()
comparison.assignors()
