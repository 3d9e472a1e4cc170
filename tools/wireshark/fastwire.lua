-- Shows FastWire in Wireshark and tshark: both profiles, decrypted where the key log knows the connection.
--
-- Put this file into the folder that Help > About > Folders calls "Personal Lua Plugins", or:
--   tshark -X lua_script:fastwire.lua -o fastwire.keylog:keys.txt -r capture.pcap
--
-- A conversation is recognised by its handshake, whatever its port. What is decrypted was authenticated first: all ciphers are
-- here, in plain Lua, because Wireshark gives scripts none on every version. References to sections are to PROTOCOL.md.

local fastwire = Proto("fastwire", "FastWire")

fastwire.prefs.keylog = Pref.string("Key log", "", "File that a program with FastWire's key log set has written")
fastwire.prefs.veil = Pref.string("Veiled servers", "", "Public keys, in hex, of servers whose handshakes are veiled; the key log names them too")

-- 32-bit arithmetic: a library in Lua 5.2, operators since 5.3.
local bits = bit32 or load([[
    local function cut(x) return x & 0xffffffff end
    return {
        band = function(a, b) return a & b end,
        bor = function(a, b) return a | b end,
        bxor = function(a, b) return a ~ b end,
        bnot = function(a) return cut(~a) end,
        lshift = function(a, n) return cut(a << n) end,
        rshift = function(a, n) return cut(a) >> n end,
        rrotate = function(a, n) return cut(a >> n | a << (32 - n)) end,
        lrotate = function(a, n) return cut(a << n | a >> (32 - n)) end,
    }
]])()
local band, bor, bxor, bnot = bits.band, bits.bor, bits.bxor, bits.bnot
local lshift, rshift, lrotate, rrotate = bits.lshift, bits.rshift, bits.lrotate, bits.rrotate
local floor = math.floor
local spread = table.unpack or unpack
local TWO32 = 4294967296

local crypto = {}

-- Bytes ---------------------------------------------------------------------------------------------------------------------

local function u32be(s, at)
    local a, b, c, d = s:byte(at, at + 3)
    return ((a * 256 + b) * 256 + c) * 256 + d
end

local function u32le(s, at)
    local a, b, c, d = s:byte(at, at + 3)
    return ((d * 256 + c) * 256 + b) * 256 + a
end

local function be32(x)
    return string.char(rshift(x, 24), band(rshift(x, 16), 255), band(rshift(x, 8), 255), band(x, 255))
end

local function le32(x)
    return string.char(band(x, 255), band(rshift(x, 8), 255), band(rshift(x, 16), 255), rshift(x, 24))
end

local function le64(x)
    return le32(x % TWO32) .. le32(floor(x / TWO32))
end

local function xor(a, b)
    local out = {}
    for i = 1, #a do
        out[i] = string.char(bxor(a:byte(i), b:byte(i)))
    end
    return table.concat(out)
end

local function unhex(s)
    return (s:gsub("..", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function tohex(s)
    return (s:gsub(".", function(c) return string.format("%02x", c:byte()) end))
end

local function padded(s)
    return s .. string.rep("\0", -#s % 16)
end

-- SHA-256 (FIPS 180-4), HMAC, HKDF-Expand (RFC 5869) ------------------------------------------------------------------------

local K256, H256 = {}, {}
do
    -- the first 32 bits of the fractional parts of cube and square roots of the first primes
    local primes, candidate = {}, 2
    while #primes < 64 do
        local prime = true
        for _, p in ipairs(primes) do
            if candidate % p == 0 then
                prime = false
                break
            end
        end
        if prime then
            primes[#primes + 1] = candidate
        end
        candidate = candidate + 1
    end
    -- the largest x with x^power <= p * 2^(32 * power), by search: a double's root is not exact enough
    local function fraction(p, power)
        local root = floor(p ^ (1 / power) + 1e-9)
        local low, high = root * TWO32, (root + 1) * TWO32
        local function above(x)
            -- compares x^power with p * 2^(32 * power), in limbs of 16 bits
            local function limbs(n)
                local l = {}
                while n > 0 do
                    l[#l + 1] = n % 65536
                    n = floor(n / 65536)
                end
                return l
            end
            local function times(a, b)
                local r = {}
                for i = 1, #a + #b do r[i] = 0 end
                for i = 1, #a do
                    local carry = 0
                    for j = 1, #b do
                        local t = r[i + j - 1] + a[i] * b[j] + carry
                        r[i + j - 1] = t % 65536
                        carry = floor(t / 65536)
                    end
                    r[i + #b] = r[i + #b] + carry
                end
                return r
            end
            local base = limbs(x)
            local value = base
            for _ = 2, power do value = times(value, base) end
            local goal = limbs(p)
            for _ = 1, 2 * power do table.insert(goal, 1, 0) end
            for i = math.max(#value, #goal), 1, -1 do
                local v, g = value[i] or 0, goal[i] or 0
                if v ~= g then return v > g end
            end
            return false
        end
        while high - low > 1 do
            local middle = floor((low + high) / 2)
            if above(middle) then high = middle else low = middle end
        end
        return low - root * TWO32
    end
    for i = 1, 64 do K256[i] = fraction(primes[i], 3) end
    for i = 1, 8 do H256[i] = fraction(primes[i], 2) end
end

function crypto.sha256(message)
    local length = #message
    message = message .. "\128" .. string.rep("\0", (55 - length) % 64) .. be32(floor(length / 536870912)) .. be32(length * 8 % TWO32)
    local h = {}
    for i = 1, 8 do h[i] = H256[i] end
    local w = {}
    for block = 1, #message, 64 do
        for i = 1, 16 do w[i] = u32be(message, block + 4 * (i - 1)) end
        for i = 17, 64 do
            local x, y = w[i - 15], w[i - 2]
            local s0 = bxor(rrotate(x, 7), bxor(rrotate(x, 18), rshift(x, 3)))
            local s1 = bxor(rrotate(y, 17), bxor(rrotate(y, 19), rshift(y, 10)))
            w[i] = (w[i - 16] + s0 + w[i - 7] + s1) % TWO32
        end
        local a, b, c, d, e, f, g, k = h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8]
        for i = 1, 64 do
            local s1 = bxor(rrotate(e, 6), bxor(rrotate(e, 11), rrotate(e, 25)))
            local choice = bxor(band(e, f), band(bnot(e), g))
            local t1 = (k + s1 + choice + K256[i] + w[i]) % TWO32
            local s0 = bxor(rrotate(a, 2), bxor(rrotate(a, 13), rrotate(a, 22)))
            local majority = bxor(band(a, b), bxor(band(a, c), band(b, c)))
            k, g, f, e = g, f, e, (d + t1) % TWO32
            d, c, b, a = c, b, a, (t1 + s0 + majority) % TWO32
        end
        local add = { a, b, c, d, e, f, g, k }
        for i = 1, 8 do h[i] = (h[i] + add[i]) % TWO32 end
    end
    local out = {}
    for i = 1, 8 do out[i] = be32(h[i]) end
    return table.concat(out)
end

function crypto.hmac(key, message)
    if #key > 64 then key = crypto.sha256(key) end
    key = key .. string.rep("\0", 64 - #key)
    local inner, outer = xor(key, string.rep("\54", 64)), xor(key, string.rep("\92", 64))
    return crypto.sha256(outer .. crypto.sha256(inner .. message))
end

function crypto.expand(prk, info, length)
    local out, last, counter = "", "", 1
    while #out < length do
        last = crypto.hmac(prk, last .. info .. string.char(counter))
        out = out .. last
        counter = counter + 1
    end
    return out:sub(1, length)
end

-- AES-128 (FIPS 197) and GCM (SP 800-38D) -----------------------------------------------------------------------------------

local SBOX = {}
do
    local p, q = 1, 1
    repeat
        p = band(bxor(p, bxor(lshift(p, 1), band(p, 128) ~= 0 and 27 or 0)), 255)
        q = bxor(q, lshift(q, 1))
        q = bxor(q, lshift(q, 2))
        q = band(bxor(q, lshift(q, 4)), 255)
        if band(q, 128) ~= 0 then q = bxor(q, 9) end
        local function turn(n) return band(bor(lshift(q, n), rshift(q, 8 - n)), 255) end
        SBOX[p] = bxor(q, bxor(turn(1), bxor(turn(2), bxor(turn(3), bxor(turn(4), 99)))))
    until p == 1
    SBOX[0] = 99
end

local function double(x)
    return band(bxor(lshift(x, 1), band(x, 128) ~= 0 and 27 or 0), 255)
end

local function aes_key(key)
    local w = { key:byte(1, 16) }
    local rcon = 1
    for i = 17, 176, 4 do
        local t = { w[i - 4], w[i - 3], w[i - 2], w[i - 1] }
        if (i - 1) % 16 == 0 then
            t = { bxor(SBOX[t[2]], rcon), SBOX[t[3]], SBOX[t[4]], SBOX[t[1]] }
            rcon = double(rcon)
        end
        for j = 0, 3 do w[i + j] = bxor(w[i + j - 16], t[j + 1]) end
    end
    return w
end

local function aes_block(w, block)
    local s = { block:byte(1, 16) }
    for i = 1, 16 do s[i] = bxor(s[i], w[i]) end
    for round = 1, 10 do
        local t = {}
        for column = 0, 3 do
            for row = 0, 3 do t[4 * column + row + 1] = SBOX[s[4 * ((column + row) % 4) + row + 1]] end
        end
        if round < 10 then
            for column = 1, 13, 4 do
                local a, b, c, d = t[column], t[column + 1], t[column + 2], t[column + 3]
                local all = bxor(bxor(a, b), bxor(c, d))
                t[column] = bxor(a, bxor(all, double(bxor(a, b))))
                t[column + 1] = bxor(b, bxor(all, double(bxor(b, c))))
                t[column + 2] = bxor(c, bxor(all, double(bxor(c, d))))
                t[column + 3] = bxor(d, bxor(all, double(bxor(d, a))))
            end
        end
        for i = 1, 16 do s[i] = bxor(t[i], w[16 * round + i]) end
    end
    return string.char(spread(s, 1, 16))
end

function crypto.aes(key, block)
    return aes_block(aes_key(key), block)
end

local function ghash(h, data)
    local h1, h2, h3, h4 = u32be(h, 1), u32be(h, 5), u32be(h, 9), u32be(h, 13)
    local y = { 0, 0, 0, 0 }
    for at = 1, #data, 16 do
        for i = 1, 4 do y[i] = bxor(y[i], u32be(data, at + 4 * (i - 1))) end
        local z1, z2, z3, z4 = 0, 0, 0, 0
        local v1, v2, v3, v4 = h1, h2, h3, h4
        for i = 1, 4 do
            local word = y[i]
            for bit = 31, 0, -1 do
                if band(rshift(word, bit), 1) == 1 then
                    z1, z2, z3, z4 = bxor(z1, v1), bxor(z2, v2), bxor(z3, v3), bxor(z4, v4)
                end
                local odd = band(v4, 1)
                v4 = bor(rshift(v4, 1), lshift(band(v3, 1), 31))
                v3 = bor(rshift(v3, 1), lshift(band(v2, 1), 31))
                v2 = bor(rshift(v2, 1), lshift(band(v1, 1), 31))
                v1 = rshift(v1, 1)
                if odd == 1 then v1 = bxor(v1, 0xe1000000) end
            end
        end
        y = { z1, z2, z3, z4 }
    end
    return be32(y[1]) .. be32(y[2]) .. be32(y[3]) .. be32(y[4])
end

-- The plaintext, or nil if the tag is wrong.
function crypto.open_gcm(key, nonce, aad, sealed)
    local w = aes_key(key)
    local data, tag = sealed:sub(1, -17), sealed:sub(-16)
    local sizes = be32(0) .. be32(#aad * 8) .. be32(0) .. be32(#data * 8)
    local hash = ghash(aes_block(w, string.rep("\0", 16)), padded(aad) .. padded(data) .. sizes)
    if xor(hash, aes_block(w, nonce .. be32(1))) ~= tag then return nil end
    local out = {}
    for at = 1, #data, 16 do
        local piece = data:sub(at, at + 15)
        out[#out + 1] = xor(piece, aes_block(w, nonce .. be32(2 + (at - 1) / 16)))
    end
    return table.concat(out)
end

-- ChaCha20 and Poly1305 (RFC 8439) ------------------------------------------------------------------------------------------

local function quarter(s, a, b, c, d)
    s[a] = (s[a] + s[b]) % TWO32
    s[d] = lrotate(bxor(s[d], s[a]), 16)
    s[c] = (s[c] + s[d]) % TWO32
    s[b] = lrotate(bxor(s[b], s[c]), 12)
    s[a] = (s[a] + s[b]) % TWO32
    s[d] = lrotate(bxor(s[d], s[a]), 8)
    s[c] = (s[c] + s[d]) % TWO32
    s[b] = lrotate(bxor(s[b], s[c]), 7)
end

-- The block of a key and of the 16 bytes after it, before and after the 20 rounds.
local function chacha_rounds(key, input)
    local start = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 }
    for i = 0, 7 do start[5 + i] = u32le(key, 1 + 4 * i) end
    for i = 0, 3 do start[13 + i] = u32le(input, 1 + 4 * i) end
    local s = {}
    for i = 1, 16 do s[i] = start[i] end
    for _ = 1, 10 do
        quarter(s, 1, 5, 9, 13)
        quarter(s, 2, 6, 10, 14)
        quarter(s, 3, 7, 11, 15)
        quarter(s, 4, 8, 12, 16)
        quarter(s, 1, 6, 11, 16)
        quarter(s, 2, 7, 12, 13)
        quarter(s, 3, 8, 9, 14)
        quarter(s, 4, 5, 10, 15)
    end
    return start, s
end

function crypto.chacha(key, counter, nonce)
    local start, s = chacha_rounds(key, le32(counter) .. nonce)
    local out = {}
    for i = 1, 16 do out[i] = le32((s[i] + start[i]) % TWO32) end
    return table.concat(out)
end

-- A key from a key and 16 bytes of nonce (draft-irtf-cfrg-xchacha).
function crypto.hchacha(key, nonce)
    local _, s = chacha_rounds(key, nonce)
    local out = {}
    for i = 1, 4 do out[i], out[4 + i] = le32(s[i]), le32(s[12 + i]) end
    return table.concat(out)
end

-- Numbers of 130 bits are ten limbs of 13, least significant first: their products fit a double.
local function limbs(bytes)
    local out, acc, have, at = {}, 0, 0, 1
    for i = 1, 10 do
        while have < 13 do
            acc = acc + (bytes:byte(at) or 0) * 2 ^ have
            have, at = have + 8, at + 1
        end
        out[i] = acc % 8192
        acc, have = floor(acc / 8192), have - 13
    end
    return out
end

local function carry(d)
    local over = 0
    for i = 1, 10 do
        local t = d[i] + over
        d[i] = t % 8192
        over = floor(t / 8192)
    end
    return over
end

function crypto.poly1305(key, message)
    local r = { key:byte(1, 16) }
    for _, i in ipairs({ 4, 8, 12, 16 }) do r[i] = band(r[i], 15) end
    for _, i in ipairs({ 5, 9, 13 }) do r[i] = band(r[i], 252) end
    r = limbs(string.char(spread(r)))
    local h = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
    for at = 1, #message, 16 do
        local m = limbs(message:sub(at, at + 15) .. "\1")
        for i = 1, 10 do h[i] = h[i] + m[i] end
        local d = {}
        for i = 1, 10 do d[i] = 0 end
        for i = 1, 10 do
            for j = 1, 10 do
                local to, product = i + j - 1, h[i] * r[j]
                if to > 10 then to, product = to - 10, product * 5 end
                d[to] = d[to] + product
            end
        end
        local over = carry(d)
        while over > 0 do
            d[1] = d[1] + over * 5
            over = carry(d)
        end
        h = d
    end
    local g = {}
    for i = 1, 10 do g[i] = h[i] end
    g[1] = g[1] + 5
    if carry(g) > 0 then h = g end
    local s = limbs(key:sub(17, 32))
    for i = 1, 10 do h[i] = h[i] + s[i] end
    carry(h)
    local out, acc, have, at = {}, 0, 0, 1
    while #out < 16 do
        while have < 8 do
            acc = acc + (h[at] or 0) * 2 ^ have
            have, at = have + 13, at + 1
        end
        out[#out + 1] = string.char(acc % 256)
        acc, have = floor(acc / 256), have - 8
    end
    return table.concat(out)
end

-- The plaintext, or nil if the tag is wrong.
function crypto.open_chacha(key, nonce, aad, sealed)
    local data, tag = sealed:sub(1, -17), sealed:sub(-16)
    local once = crypto.chacha(key, 0, nonce):sub(1, 32)
    if crypto.poly1305(once, padded(aad) .. padded(data) .. le64(#aad) .. le64(#data)) ~= tag then return nil end
    local out = {}
    for at = 1, #data, 64 do
        local piece = data:sub(at, at + 63)
        out[#out + 1] = xor(piece, crypto.chacha(key, 1 + (at - 1) / 64, nonce))
    end
    return table.concat(out)
end

function crypto.open_xchacha(key, nonce, aad, sealed)
    return crypto.open_chacha(crypto.hchacha(key, nonce), "\0\0\0\0" .. nonce:sub(17, 24), aad, sealed)
end

-- LZ4 -----------------------------------------------------------------------------------------------------------------------

-- Expands one block to `size` bytes; nil if it is none.
function crypto.lz4(block, size)
    local out, at = {}, 1
    local function length(n)
        if n < 15 then return n end
        repeat
            local byte = block:byte(at) or error("the block ends early")
            n, at = n + byte, at + 1
        until byte < 255
        return n
    end
    local function expand()
        while at <= #block do
            local token = block:byte(at)
            at = at + 1
            local literals = length(rshift(token, 4))
            for i = at, at + literals - 1 do out[#out + 1] = block:byte(i) or error("the block ends early") end
            at = at + literals
            if at > #block then break end
            local low, high = block:byte(at, at + 1)
            at = at + 2
            local from = #out - (low + 256 * high)
            local count = length(band(token, 15)) + 4
            if #out + count > size then error("longer than it says") end
            for i = 1, count do out[#out + 1] = out[from + i] or error("nothing there to repeat") end
        end
    end
    if not pcall(expand) or #out ~= size then return nil end
    for i, byte in ipairs(out) do out[i] = string.char(byte) end
    return table.concat(out)
end

-- The size a zstd frame says it expands to (RFC 8878 3.1.1.1), if it does.
local function zstd_size(frame)
    if frame:sub(1, 4) ~= "\40\181\47\253" or #frame < 6 then return nil end
    local descriptor = frame:byte(5)
    local single = band(descriptor, 32) ~= 0
    local at = 6 + (single and 0 or 1) + ({ [0] = 0, 1, 2, 4 })[band(descriptor, 3)]
    local width = ({ [0] = single and 1 or 0, 2, 4, 8 })[rshift(descriptor, 6)]
    if width == 0 or #frame < at + width - 1 then return nil end
    local size = 0
    for i = at + width - 1, at, -1 do size = size * 256 + frame:byte(i) end
    return width == 2 and size + 256 or size
end

-- For the test that compares with published vectors.
package.loaded["fastwire.crypto"] = crypto

-- Key log -------------------------------------------------------------------------------------------------------------------

local secrets, veils = {}, {}

-- A server whose handshakes are veiled (B7).
local function add_veil(server_key)
    local prk = crypto.hmac("fastwire veil 1", server_key)
    veils[server_key] = veils[server_key] or { hs = crypto.expand(prk, "hs", 32), cid = crypto.expand(prk, "cid", 16) }
end

local function read_keylog()
    secrets, veils = {}, {}
    for key in fastwire.prefs.veil:gmatch("%x+") do
        if #key == 64 then add_veil(unhex(key)) end
    end
    local file = fastwire.prefs.keylog ~= "" and io.open(fastwire.prefs.keylog, "r")
    if not file then return end
    for line in file:lines() do
        local label, handshake, secret = line:match("^(FASTWIRE_[%u%d_]+) (%x+) (%x+)%s*$")
        if label then
            local key = unhex(handshake)
            secrets[key] = secrets[key] or {}
            secrets[key][label] = unhex(secret)
            if label == "FASTWIRE_VEIL" then add_veil(secrets[key][label]) end
        end
    end
    file:close()
end

-- The secrets of a handshake; the file may have grown since it was read.
local function secrets_of(session)
    local known = secrets[session.token]
    if not known and not session.asked then
        session.asked = true
        read_keylog()
        known = secrets[session.token]
    end
    return known
end

-- Conversations -------------------------------------------------------------------------------------------------------------

-- Ends of a conversation: `pairs["client server"]` = { client, server, sessions }.
local paths, by_id, shown, uncovered

local PREFIX = "\2\0\0\0\0\0\0\0"
local AES, CHACHA = 1, 2

local function forget()
    paths, by_id, shown, uncovered = {}, {}, {}, {}
    read_keylog()
end
forget()
fastwire.init = forget

local function open(suite, key, nonce, aad, sealed)
    if #sealed < 16 then return nil end
    if suite == AES then return crypto.open_gcm(key, nonce, aad, sealed) end
    return crypto.open_chacha(key, nonce, aad, sealed)
end

-- Base profile: opens one sealed packet (A3).
local function open_base(session, up, packet)
    if session.suite == 0 then return packet end
    local known = secrets_of(session)
    local key = known and known[up and "FASTWIRE_BASE_CLIENT_KEY" or "FASTWIRE_BASE_SERVER_KEY"]
    if not key or #packet < 24 then return nil end
    return open(session.suite, key, packet:sub(1, 8) .. "\0\0\0\0", "", packet:sub(9))
end

-- Base profile: the packets of a datagram, framed as agreed or not at all (A9, A10).
local function layouts(session, up, datagram)
    local token = up and session.migration and #session.migration or 0
    local function single(from) return { { from, #datagram } } end
    local function batch(from)
        local ranges, count, at = {}, datagram:byte(from) or 0, from + 1
        for _ = 1, count do
            local low, high = datagram:byte(at, at + 1)
            if not high then return nil end
            local length = low + 256 * high
            if at + 1 + length > #datagram then return nil end
            ranges[#ranges + 1] = { at + 2, at + 1 + length }
            at = at + 2 + length
        end
        return count > 0 and ranges or nil
    end
    local tries = {}
    if session.batched then tries[#tries + 1] = batch(token + 1) end
    tries[#tries + 1] = single(token + 1)
    tries[#tries + 1] = single(1)
    return tries
end

-- Extended profile: keys of one direction and epoch (B3).
local function epoch_keys(session, up, epoch)
    local known = secrets_of(session)
    local who = up and "FASTWIRE_CLIENT_" or "FASTWIRE_SERVER_"
    if not known or not known[who .. "SECRET_0"] then return nil end
    local line = up and "up" or "down"
    local chain = session[line] or { secrets = { [0] = known[who .. "SECRET_0"] }, keys = {}, newest = 0 }
    session[line] = chain
    while chain.newest < epoch do
        chain.secrets[chain.newest + 1] = crypto.expand(chain.secrets[chain.newest], "next", 32)
        chain.newest = chain.newest + 1
    end
    if not chain.keys[epoch] then
        local secret = chain.secrets[epoch]
        chain.keys[epoch] = {
            key = crypto.expand(secret, "key", session.suite == AES and 16 or 32),
            iv = crypto.expand(secret, "iv", 12),
        }
    end
    return chain.keys[epoch], chain, known[who .. "MASK"]
end

-- Extended profile: opens a short packet whose id takes `id` bytes (B4). Gives plaintext and number.
local function open_short(session, up, packet, id)
    if #packet < id + 20 then return nil end
    local _, chain, mask_key = epoch_keys(session, up, 0)
    if not chain or not mask_key then return nil end
    local sample = packet:sub(id + 5, id + 20)
    local mask
    if session.suite == AES then
        mask = crypto.aes(mask_key:sub(1, 16), sample):sub(1, 4)
    else
        mask = crypto.chacha(mask_key, u32le(sample, 1), sample:sub(5)):sub(1, 4)
    end
    local low = xor(packet:sub(id + 1, id + 4), mask)
    local number = u32le(low, 1)
    if chain.highest then
        -- the nearest to the one expected next
        local expected = chain.highest + 1
        local above = expected - expected % TWO32 + number
        number = above
        for _, other in ipairs({ above - TWO32, above + TWO32 }) do
            if other >= 0 and math.abs(other - expected) < math.abs(number - expected) then number = other end
        end
    end
    local epoch = floor(number / 65536)
    if epoch > chain.newest + 15 then return nil end
    local keys = epoch_keys(session, up, epoch)
    local nonce = keys.iv:sub(1, 4) .. xor(keys.iv:sub(5), le64(number))
    local plain = open(session.suite, keys.key, nonce, packet:sub(1, id) .. low, packet:sub(id + 5))
    if not plain then return nil end
    chain.highest = math.max(chain.highest or 0, number)
    return plain, number
end

-- The handshake datagram behind a veil, and the veil (B7).
local function unveil(datagram)
    if #datagram < 46 then return nil end
    for _, veil in pairs(veils) do
        local plain = crypto.open_xchacha(veil.hs, datagram:sub(1, 24), "", datagram:sub(25))
        if plain and #plain >= 6 then
            local low, high = plain:byte(5, 6)
            return plain:sub(7, 6 + low + 256 * high), veil
        end
    end
    return nil
end

-- A veiled client's packet with its id as it is.
local function unmask(veil, packet)
    if #packet < 28 then return packet end
    local mask = crypto.aes(veil.cid, packet:sub(13, 28))
    return xor(packet:sub(1, 8), mask) .. packet:sub(9)
end

-- Fields --------------------------------------------------------------------------------------------------------------------

local CONTROLS = {
    [1] = "CONNECT", [2] = "CHALLENGE", [3] = "RESPONSE", [4] = "CONNECTED", [5] = "DISCONNECT", [6] = "HEARTBEAT",
    [7] = "VERSION_MISMATCH", [8] = "REJECT",
}
local FRAMES = {
    [0] = "PAD", [4] = "CONNECTED", [5] = "DISCONNECT", [6] = "PING", [9] = "ACK", [10] = "PATH_CHALLENGE", [11] = "PATH_RESPONSE",
    [12] = "FEC", [13] = "CREDIT", [14] = "NEW_CID", [15] = "FIN", [16] = "RESET", [17] = "TIME_ASK", [18] = "TIME",
}
for kind = 32, 39 do FRAMES[kind] = "DATA" end
local CONTENTS = {
    [0] = "as it is", [1] = "LZ4", [3] = "zstd", [4] = "stamped", [5] = "stamped, LZ4", [7] = "stamped, zstd",
}
local SUITES = { [0] = "none", [AES] = "AES-128-GCM", [CHACHA] = "ChaCha20-Poly1305" }

local f = {
    profile = ProtoField.string("fastwire.profile", "Profile"),
    control = ProtoField.uint8("fastwire.control", "Control", base.DEC, CONTROLS),
    token = ProtoField.bytes("fastwire.token", "Challenge token or cookie"),
    suite = ProtoField.uint8("fastwire.suite", "Cipher suite", base.DEC, SUITES),
    sealed = ProtoField.bytes("fastwire.sealed", "Sealed"),
    cid = ProtoField.bytes("fastwire.cid", "Connection id"),
    nonce = ProtoField.uint64("fastwire.nonce", "Nonce"),
    number = ProtoField.uint64("fastwire.number", "Packet number"),
    channel = ProtoField.uint8("fastwire.channel", "Channel"),
    sequence = ProtoField.uint32("fastwire.sequence", "Sequence"),
    ack = ProtoField.uint32("fastwire.ack", "Acknowledged"),
    ack_field = ProtoField.uint32("fastwire.ack_field", "Acknowledged below", base.HEX),
    fragment = ProtoField.uint16("fastwire.fragment", "Fragment of"),
    index = ProtoField.uint8("fastwire.fragment.index", "Fragment index"),
    count = ProtoField.uint8("fastwire.fragment.count", "Fragment count"),
    frame = ProtoField.uint8("fastwire.frame", "Frame", base.HEX, FRAMES),
    message = ProtoField.uint32("fastwire.message", "Message number"),
    offset = ProtoField.uint32("fastwire.offset", "Offset in message"),
    total = ProtoField.uint32("fastwire.total", "Length of message"),
    content = ProtoField.uint8("fastwire.content", "Content", base.HEX, CONTENTS),
    original = ProtoField.uint32("fastwire.original", "Length before compression"),
    expanded = ProtoField.bytes("fastwire.expanded", "Expanded message"),
    sent = ProtoField.uint64("fastwire.sent", "Sent at, microseconds of the server's clock mod 2^40"),
    sent_error = ProtoField.uint64("fastwire.sent.error", "Microseconds that may be off"),
    veiled = ProtoField.bytes("fastwire.veiled", "Veiled handshake"),
    payload = ProtoField.bytes("fastwire.payload", "Payload"),
    delay = ProtoField.uint8("fastwire.ack.delay", "Acknowledgement delay in half milliseconds"),
    bitmap = ProtoField.bytes("fastwire.ack.bitmap", "Acknowledged below"),
    reason = ProtoField.uint8("fastwire.reason", "Reason"),
    text = ProtoField.string("fastwire.text", "Text"),
    data = ProtoField.bytes("fastwire.data", "Data"),
}
local list = {}
for _, field in pairs(f) do list[#list + 1] = field end
fastwire.fields = list

-- Reads LEB128 at `at`; gives value and the place after it.
local function varint(s, at)
    local value, scale = 0, 1
    for i = at, at + 9 do
        local byte = s:byte(i)
        if not byte then return nil end
        value = value + band(byte, 127) * scale
        if byte < 128 then return value, i + 1 end
        scale = scale * 128
    end
    return nil
end

-- What stands at the beginning of a message (A8; B5, Stamps); `whole`: all of the message is there.
local function show_content(tree, range, content, bytes, whole)
    local at = 0
    if band(content, 4) ~= 0 and #bytes >= 6 then
        local error = bytes:byte(6)
        tree:add(f.sent, range(0, 5), UInt64(u32le(bytes, 1), bytes:byte(5)))
        local off = (error % 8) * 2 ^ floor(error / 8)
        tree:add(f.sent_error, range(5, 1), UInt64(off % TWO32, floor(off / TWO32)))
        at = 6
    end
    if band(content, 1) == 0 or #bytes < at + 5 then return end
    local rest = bytes:sub(at + 1)
    local zstd = band(content, 2) ~= 0
    local size = zstd and zstd_size(rest) or (not zstd and u32le(rest, 1)) or nil
    if not size or size >= TWO32 then return end
    tree:add(f.original, range(at, zstd and math.min(14, #rest) or 4), size)
    local expanded = whole and not zstd and size <= 8388608 and crypto.lz4(rest:sub(5), size)
    if expanded then tree:add(f.expanded, ByteArray.new(expanded, true):tvb("Expanded message")()):set_generated() end
end

-- Plaintext of the base profile (A2, A7).
local function show_base(plain, tree)
    local tvb = ByteArray.new(plain, true):tvb("FastWire packet")
    local flags, channel = plain:byte(1, 2)
    local sequence, at = varint(plain, 3)
    if not sequence then return "malformed" end
    local ack, after = varint(plain, at)
    if not ack or #plain < after + 3 then return "malformed" end
    tree:add(f.channel, tvb(1, 1))
    tree:add(f.sequence, tvb(2, at - 3), sequence)
    tree:add(f.ack, tvb(at - 1, after - at), ack)
    tree:add_le(f.ack_field, tvb(after - 1, 4))
    at = after + 4
    if band(flags, 2) ~= 0 then
        if at > #plain then return "malformed" end
        tree:add(f.control, tvb(at - 1, 1))
        return CONTROLS[plain:byte(at)] or "control"
    end
    local what = string.format("channel %d #%d", channel, sequence)
    if band(flags, 1) ~= 0 then
        if #plain < at + 4 then return "malformed" end
        tree:add(f.fragment, tvb(at - 1, 2))
        tree:add(f.index, tvb(at + 1, 1))
        tree:add(f.count, tvb(at + 2, 1))
        tree:add(f.content, tvb(at + 3, 1))
        local index, count, content = plain:byte(at + 2, at + 4)
        what = string.format("%s piece %d/%d", what, index + 1, count)
        at = at + 5
        if index == 0 and at <= #plain then
            show_content(tree, tvb(at - 1), band(content, 3), plain:sub(at), count == 1)
        end
    end
    if at <= #plain then tree:add(f.payload, tvb(at - 1)) end
    return what
end

-- Frames of the extended profile (B5). `learn(cid)` hears of ids.
local function show_frames(plain, tree, learn)
    local tvb = ByteArray.new(plain, true):tvb("FastWire frames")
    local at, names = 1, {}
    local function read(width)
        local from = at
        at = at + width
        return tvb(from - 1, width)
    end
    local function number(tree, field)
        local value, after = varint(plain, at)
        if not value then error("a number ends early") end
        tree:add(field, tvb(at - 1, after - at), value)
        at = after
        return value
    end
    local function all()
        while at <= #plain do
            local kind = plain:byte(at)
            local from = at
            local branch = tree:add(f.frame, tvb(at - 1, 1))
            at = at + 1
            if kind == 0 then
                while plain:byte(at) == 0 do at = at + 1 end
            elseif kind == 4 then
                branch:add(f.data, read(12))
                learn(plain:sub(at, at + 7))
                branch:add(f.cid, read(8))
            elseif kind == 5 then
                branch:add(f.reason, read(1))
                branch:add(f.data, read(2))
                branch:add(f.text, read(plain:byte(at) + 1))
            elseif kind == 9 then
                branch:add_le(f.ack, read(4))
                branch:add(f.delay, read(1))
                at = at + 1
                local words = plain:byte(at)
                at = at + 1
                branch:add(f.bitmap, read(4 * words))
            elseif kind == 10 or kind == 11 then
                branch:add(f.data, read(8))
            elseif kind == 12 then
                branch:add(f.data, read(7))
                local low, high = plain:byte(at, at + 1)
                at = at + 2
                branch:add(f.data, read(low + 256 * high))
            elseif kind == 13 then
                branch:add(f.channel, read(1))
                number(branch, f.total)
            elseif kind == 14 then
                number(branch, f.message)
                learn(plain:sub(at, at + 7))
                branch:add(f.cid, read(8))
            elseif kind == 15 then
                branch:add(f.channel, read(1))
                number(branch, f.message)
            elseif kind == 16 then
                branch:add(f.channel, read(1))
                number(branch, f.message)
                number(branch, f.total)
                branch:add(f.data, read(2))
            elseif kind == 17 or kind == 18 then
                branch:add(f.data, read(kind == 17 and 4 or 12))
            elseif kind >= 32 and kind < 40 then
                branch:add(f.channel, read(1))
                number(branch, f.message)
                local offset, content = 0, 0
                if band(kind, 1) ~= 0 then
                    offset = number(branch, f.offset)
                    number(branch, f.total)
                else
                    branch:add(f.offset, tvb(at - 1, 0), 0)
                end
                if band(kind, 4) ~= 0 then
                    content = plain:byte(at)
                    branch:add(f.content, read(1))
                end
                local length = #plain - at + 1
                if band(kind, 2) == 0 then
                    length, at = varint(plain, at)
                end
                local bytes, range = plain:sub(at, at + length - 1), read(length)
                branch:add(f.payload, range)
                if offset == 0 and content ~= 0 then
                    show_content(branch, range, content, bytes, band(kind, 1) == 0)
                end
            elseif kind ~= 6 then
                error("unknown frame " .. kind)
            end
            branch:set_len(at - from)
            names[#names + 1] = FRAMES[kind] or "?"
        end
    end
    local fine, why = pcall(all)
    if not fine then tree:add_expert_info(PI_MALFORMED, PI_WARN, tostring(why)) end
    return table.concat(names, " ")
end

-- Datagrams -----------------------------------------------------------------------------------------------------------------

local function path_of(pinfo)
    local from = tostring(pinfo.src) .. ":" .. pinfo.src_port
    local to = tostring(pinfo.dst) .. ":" .. pinfo.dst_port
    local up, down = paths[from .. " " .. to], paths[to .. " " .. from]
    if up then return up, true, from, to end
    return down, false, from, to
end

-- Learns from a bare handshake packet (A5, B2). Gives what to show.
local function handshake(datagram, pinfo, veil)
    local kind = datagram:byte(9)
    local path, up, from, to = path_of(pinfo)
    if kind == 1 then
        if not path then paths[from .. " " .. to] = { server = to, sessions = {}, veil = veil } end
    elseif kind == 2 and #datagram >= 79 and path and not up then
        local suite, _, features = datagram:byte(77, 79)
        local session = {
            token = datagram:sub(45, 76), suite = suite, extended = features == 4,
            batched = band(features, 1) ~= 0, server = from,
        }
        if not session.extended and band(features, 2) ~= 0 then
            session.migration = datagram:sub(80, 87)
            by_id[session.migration] = session
        end
        for _, other in ipairs(path.sessions) do
            if other.token == session.token then return end
        end
        table.insert(path.sessions, 1, session)
    end
end

-- Whose the id before a datagram is, and the veil it is masked by.
local function owner_of(datagram, to)
    local session = by_id[datagram:sub(1, 8)]
    if session and session.server == to then return session end
    for _, veil in pairs(veils) do
        session = by_id[unmask(veil, datagram):sub(1, 8)]
        if session and session.server == to then return session, veil end
    end
    return nil
end

-- Opens what a datagram holds. Gives a list of { session, plain, number, from, to } or nil.
local function decrypt(datagram, pinfo, inner)
    local path, up, from, to = path_of(pinfo)
    if not path then
        -- a client that moved: it is known by the id before its packets
        local moved, veil = owner_of(datagram, to)
        if not moved then return nil end
        path, up = { server = to, sessions = { moved }, veil = veil }, true
        paths[from .. " " .. to] = path
    end
    if up and path.veil and not inner then datagram = unmask(path.veil, datagram) end
    for _, session in ipairs(path.sessions) do
        if session.extended then
            local head = datagram:sub(1, 9) == PREFIX .. "\4" and 25 or 0
            local id = up and 8 or 0
            local plain, number = open_short(session, up, datagram:sub(head + 1), id)
            if plain then
                local packet = { session = session, plain = plain, number = number, from = head + id + 5, to = #datagram }
                packet.cid = id > 0 and datagram:sub(1, 8) or nil
                return { packet }
            end
        else
            for _, ranges in ipairs(layouts(session, up, datagram)) do
                local found = {}
                for _, range in ipairs(ranges) do
                    local plain = open_base(session, up, datagram:sub(range[1], range[2]))
                    if plain then
                        found[#found + 1] = { session = session, plain = plain, from = range[1], to = range[2] }
                    end
                end
                if #found > 0 then return found end
            end
        end
    end
    return nil
end

local function is_bare(datagram)
    return datagram:sub(1, 8) == PREFIX and CONTROLS[datagram:byte(9) or 0] ~= nil
end

-- What is behind a datagram's veil, learnt from on the way; nil if there is none.
local function uncover(datagram, pinfo)
    local known = uncovered[pinfo.number]
    if known == nil then
        local inner, veil = unveil(datagram)
        if inner and is_bare(inner) then handshake(inner, pinfo, veil) else inner = nil end
        known = inner or false
        uncovered[pinfo.number] = known
    end
    return known or nil
end

function fastwire.dissector(tvb, pinfo, root)
    local datagram = tvb():raw()
    local first = not shown[pinfo.number]
    if first then
        if is_bare(datagram) then handshake(datagram, pinfo) end
        local packets, inner = decrypt(datagram, pinfo), nil
        if not packets and not is_bare(datagram) then
            inner = uncover(datagram, pinfo)
            packets = inner and decrypt(inner, pinfo, true)
        end
        shown[pinfo.number] = { packets = packets, inner = inner }
    end
    local packets, inner = shown[pinfo.number].packets, shown[pinfo.number].inner
    pinfo.cols.protocol = "FastWire"
    local length = tvb:len()
    local tree = root:add(fastwire, tvb())
    if inner then
        tree:add(f.veiled, tvb()):set_text(string.format("Veiled handshake, %d bytes behind the veil", #inner))
        datagram, tvb = inner, ByteArray.new(inner, true):tvb("FastWire handshake")
    end
    local told = {}
    if is_bare(datagram) and not (packets and not packets[1].session.extended) then
        local kind = datagram:byte(9)
        tree:add(f.control, tvb(8, 1))
        told[1] = CONTROLS[kind]
        if kind == 2 and #datagram >= 79 then
            tree:add(f.profile, tvb(78, 1), datagram:byte(79) == 4 and "extended" or "base")
            tree:add(f.token, tvb(44, 32))
            tree:add(f.suite, tvb(76, 1))
        end
    end
    for _, packet in ipairs(packets or {}) do
        local range = tvb(packet.from - 1, packet.to - packet.from + 1)
        local branch = tree:add(f.sealed, range)
        branch:set_text(string.format("Packet, %d bytes, decrypted", range:len()))
        branch:add(f.profile, range, packet.session.extended and "extended" or "base"):set_generated()
        if packet.session.extended then
            if packet.number then branch:add(f.number, tvb(packet.from - 5, 4), UInt64(packet.number % TWO32, floor(packet.number / TWO32))) end
            if packet.cid then branch:add(f.cid, ByteArray.new(packet.cid, true):tvb("Connection id")()) end
            local session = packet.session
            told[#told + 1] = show_frames(packet.plain, branch, function(cid) by_id[cid] = session end)
        else
            if packet.session.suite ~= 0 then branch:add_le(f.nonce, tvb(packet.from - 1, 8)) end
            told[#told + 1] = show_base(packet.plain, branch)
        end
    end
    if #told == 0 then
        told[1] = "sealed"
        tree:add(f.sealed, tvb())
    end
    pinfo.cols.info = table.concat(told, ", ")
    return length
end

-- A conversation begins with CONNECT, veiled or not, or is one already; a client that moved brings an id that is known.
local function recognise(tvb, pinfo, root)
    if tvb:len() < 9 then return false end
    local datagram = tvb():raw()
    local path, _, _, to = path_of(pinfo)
    local connects = datagram:sub(1, 10) == PREFIX .. "\1\1" and #datagram >= 48
    if not path and not connects and not owner_of(datagram, to) and not uncover(datagram, pinfo) then return false end
    fastwire.dissector(tvb, pinfo, root)
    return true
end

fastwire:register_heuristic("udp", recognise)
DissectorTable.get("udp.port"):add_for_decode_as(fastwire)
