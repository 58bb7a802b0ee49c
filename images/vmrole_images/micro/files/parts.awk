# Splits user-data into out/NN.script (and an empty out/NN.base64 where the script still is base64).
# Takes a bare script or MIME with nested multi-parts; other kinds of parts are for cloud-init and are passed over.
BEGIN { number = 0; depth = 0; state = "start"; hex = "0123456789ABCDEF" }
{ sub(/\r$/, "") }

state == "start" {
    if ($0 ~ /^#!/) { begin_part("text/x-shellscript", ""); state = "body" }
    else { state = "headers"; type = ""; encoding = ""; boundary = "" }
}

state != "start" && substr($0, 1, 2) == "--" {
    for (i = depth; i > 0; i--) {
        if ($0 == "--" bound[i] || $0 == "--" bound[i] "--") {
            if (file != "") close(file)
            file = ""; held = ""
            depth = i
            if ($0 == "--" bound[i]) { state = "headers"; type = ""; encoding = ""; boundary = ""; header = "" }
            else { depth = i - 1; state = "between" }
            next
        }
    }
}

state == "headers" {
    if ($0 == "") {
        take_header()
        if (type ~ /^multipart\// && boundary != "") { bound[++depth] = boundary; state = "between" }
        else { begin_part(type, encoding); state = "body" }
        next
    }
    if ($0 ~ /^[ \t]/) { header = header " " $0; next }
    take_header()
    header = $0
    next
}

state == "body" { write_line($0) }

function take_header(    name, value, at, found) {
    at = index(header, ":")
    if (at == 0) return
    name = tolower(substr(header, 1, at - 1)); value = substr(header, at + 1)
    sub(/^[ \t]+/, "", value)
    if (name == "content-transfer-encoding") { encoding = tolower(value); sub(/[ \t;].*/, "", encoding) }
    if (name == "content-type") {
        type = tolower(value); sub(/[ \t;].*/, "", type)
        if (match(tolower(value), /boundary[ \t]*=[ \t]*/)) {
            found = substr(value, RSTART + RLENGTH)
            if (substr(found, 1, 1) == "\"") { found = substr(found, 2); sub(/".*/, "", found) }
            else sub(/[ \t;].*/, "", found)
            boundary = found
        }
    }
    header = ""
}

function begin_part(kind, how) {
    file = ""; held = ""; coding = how
    wanted = (kind == "text/x-shellscript") ? 1 : (kind == "text/plain" || kind == "") ? 2 : 0
}

# A plain part counts as a script when it begins like one; base64 is decoded by the caller, which then looks again.
function write_line(line) {
    if (!wanted) return
    if (file == "") {
        if (line == "") return
        if (wanted == 2 && coding != "base64" && line !~ /^#!/) { wanted = 0; return }
        if (wanted == 2 && coding == "base64" && line !~ /^Iy/) { wanted = 0; return }
        file = sprintf("%s/%02d.script", out, ++number)
        if (coding == "base64") printf "" > sprintf("%s/%02d.base64", out, number)
    }
    if (coding != "quoted-printable") { print line > file; return }
    soft = sub(/=$/, "", line)
    line = held plain(line); held = ""
    if (soft) held = line; else print line > file
}

function plain(line,    done, at, high, low) {
    done = ""
    while ((at = index(line, "=")) > 0) {
        high = index(hex, toupper(substr(line, at + 1, 1))) - 1; low = index(hex, toupper(substr(line, at + 2, 1))) - 1
        if (high < 0 || low < 0 || length(line) < at + 2) { done = done substr(line, 1, at); line = substr(line, at + 1); continue }
        done = done substr(line, 1, at - 1) sprintf("%c", high * 16 + low)
        line = substr(line, at + 3)
    }
    return done line
}
