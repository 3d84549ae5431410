# Makes the SBOM of a release from the output of cargo-cyclonedx. In: a CycloneDX document; `$crates`, a line
# `name|version|features` for each crate in the binary; `$package`, `$sum` of the binary, and the versions `$rust`,
# `$glibc`.
#
# cargo-cyclonedx takes the crates from `cargo metadata`, which also lists procedural macros and crates that no feature
# needs. They are removed here, and so is the build folder, which cargo-cyclonedx puts into the name of the root.

($crates | split("\n") | map(select(. != "") | split("|") | { key: (.[0] + "@" + .[1]), value: .[2] }) | from_entries) as $in_binary
| def key: .name + "@" + .version;
def linked($name; $version; $purl; $about):
    { type: "library", "bom-ref": $purl, name: $name, version: $version, description: $about, scope: "required", purl: $purl };
[
    linked("rust-std"; $rust; "pkg:generic/rust-std@" + $rust; "The Rust standard library, linked statically"),
    linked("glibc"; $glibc; "pkg:generic/glibc@" + ($glibc | @uri); "The GNU C library, linked statically")
] as $linked
| .metadata.component["bom-ref"] as $root
| [.components[] | select($in_binary[key] != null) | .properties = [{ name: "cargo:features", value: $in_binary[key] }]] as $kept
| (($in_binary | keys) - ($kept | map(key)) - [$root | sub(".*#"; "")]) as $unknown
| if $unknown != [] then error("cargo-cyclonedx does not list \($unknown | join(", "))") else . end
| ($kept | map({ key: .["bom-ref"], value: true }) | from_entries) as $refs
| .components = $kept + $linked
| .dependencies |= (
    map(
        select($refs[.ref] or .ref == $root)
        | .dependsOn = ((.dependsOn // []) | map(select($refs[.])))
        | if .ref == $root then .ref = $package | .dependsOn += ($linked | map(.["bom-ref"])) else . end
    ) + ($linked | map({ ref: .["bom-ref"], dependsOn: [] }))
)
| .metadata.component |= (.name = $package | .["bom-ref"] = $package | .hashes = [{ alg: "SHA-256", content: $sum }])
