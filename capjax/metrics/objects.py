"""The 80 categories of COCO's instance labels and their names in captions.

`{category: names}`, names in the singular, separated by commas; plurals are derived. A name of several words is one
phrase: a `hot dog` is not a dog. The names are of things that people would label as the category; `--synonyms` replaces
them.
"""

COCO_OBJECTS = {
    "person": (
        "man, woman, boy, girl, child, kid, baby, toddler, infant, people, lady, guy, gentleman, male, female, "
        "adult, teenager, teen, player, skier, snowboarder, skateboarder, surfer, rider, cyclist, bicyclist, "
        "biker, motorcyclist, pedestrian, passenger, driver, officer, policeman, policewoman, fireman, "
        "firefighter, soldier, worker, chef, cook, waiter, waitress, doctor, nurse, student, teacher, athlete, "
        "batter, pitcher, catcher, umpire, goalie, swimmer, runner, walker, dancer, singer, musician, tourist, "
        "spectator, fan, bride, groom, couple, mother, father, mom, dad, son, daughter, brother, sister, husband, "
        "wife, grandmother, grandfather, friend, crowd, family, jockey, cowboy"
    ),
    "bicycle": "bike, tricycle, mountain bike, push bike",
    "car": (
        "automobile, sedan, suv, van, minivan, taxi, cab, jeep, hatchback, convertible, limousine, police car, "
        "station wagon, sports car"
    ),
    "motorcycle": "motorbike, motor bike, motor cycle, scooter, moped, dirt bike, vespa",
    "airplane": (
        "aeroplane, plane, air plane, jet, aircraft, airliner, jetliner, biplane, passenger jet, fighter jet, seaplane"
    ),
    "bus": "school bus, double decker, double decker bus, coach bus, minibus, tour bus, trolleybus",
    "train": "locomotive, steam engine, subway train, passenger train, freight train, tram, streetcar",
    "truck": (
        "lorry, pickup, pick up truck, pickup truck, fire truck, firetruck, fire engine, dump truck, semi, tow "
        "truck, garbage truck, semi truck, tractor trailer"
    ),
    "boat": (
        "ship, sailboat, canoe, kayak, ferry, yacht, rowboat, motorboat, speedboat, raft, gondola, sail boat, "
        "vessel, catamaran, tugboat, row boat, speed boat, motor boat"
    ),
    "traffic light": "stoplight, stop light, traffic signal, street light, streetlight",
    "fire hydrant": "hydrant, fireplug",
    "stop sign": "",
    "parking meter": "",
    "bench": "park bench, pew",
    "bird": (
        "duck, goose, seagull, gull, pigeon, parrot, owl, eagle, hawk, chicken, hen, rooster, swan, ostrich, "
        "peacock, flamingo, penguin, sparrow, crow, robin, pelican, hummingbird, parakeet, cockatoo, heron, "
        "stork, turkey, falcon, woodpecker, finch, duckling, chick"
    ),
    "cat": "kitten, kitty, tabby, house cat, feline",
    "dog": (
        "puppy, pup, hound, terrier, poodle, bulldog, labrador, retriever, golden retriever, dalmatian, "
        "dachshund, chihuahua, pug, corgi, collie, husky, beagle, german shepherd, canine, border collie"
    ),
    "horse": "pony, foal, colt, mare, stallion, racehorse",
    "sheep": "lamb, ram, ewe",
    "cow": "cattle, bull, calf, ox, heifer, steer",
    "elephant": "",
    "bear": "polar bear, grizzly, panda, grizzly bear, brown bear, black bear, panda bear, bear cub",
    "zebra": "",
    "giraffe": "",
    "backpack": "rucksack, knapsack, back pack, book bag, bookbag",
    "umbrella": "parasol",
    "handbag": "purse, hand bag, shoulder bag, pocketbook, clutch bag",
    "tie": "necktie, bow tie, bowtie",
    "suitcase": "luggage, suit case, briefcase",
    "frisbee": "flying disc, disc golf disc",
    "skis": "ski, pair of skis",
    "snowboard": "snow board",
    "sports ball": (
        "ball, baseball, basketball, football, soccer ball, tennis ball, volleyball, beach ball, softball, rugby "
        "ball, golf ball, bowling ball"
    ),
    "kite": "",
    "baseball bat": "bat",
    "baseball glove": "baseball mitt, catcher's mitt, mitt",
    "skateboard": "skate board, longboard",
    "surfboard": "surf board, boogie board, body board, bodyboard",
    "tennis racket": "racket, racquet, tennis racquet",
    "bottle": "wine bottle, beer bottle, water bottle, soda bottle",
    "wine glass": "wineglass, champagne glass, glass of wine, goblet",
    "cup": "mug, coffee cup, tea cup, teacup, coffee mug, paper cup",
    "fork": "",
    "knife": "butter knife, steak knife, pocket knife, pocketknife",
    "spoon": "teaspoon, tablespoon, ladle",
    "bowl": "",
    "banana": "",
    "apple": "",
    "sandwich": "burger, hamburger, cheeseburger, sub sandwich, panini, grilled cheese, blt",
    "orange": "tangerine, clementine, mandarin orange",
    "broccoli": "",
    "carrot": "",
    "hot dog": "hotdog, corn dog, frankfurter, chili dog",
    "pizza": "",
    "donut": "doughnut, bagel",
    "cake": "cupcake, cheesecake, birthday cake, wedding cake, shortcake, pound cake",
    "chair": "armchair, recliner, stool, rocking chair, lawn chair, beach chair, high chair, arm chair, office chair",
    "couch": "sofa, loveseat, settee, futon, love seat",
    "potted plant": "houseplant, house plant, pot plant, flower pot, flowerpot, bonsai",
    "bed": "bunk bed, mattress, crib, cot",
    "dining table": "table, kitchen table, dinner table, coffee table, picnic table, desk",
    "toilet": "urinal, commode, lavatory, toilet bowl",
    "tv": "television, television set, tv set, tv screen, flat screen, flatscreen, television screen",
    "laptop": "laptop computer, notebook computer, macbook",
    "mouse": "computer mouse",
    "remote": "remote control, wii remote, controller, game controller, video game controller, tv remote",
    "keyboard": "computer keyboard",
    "cell phone": "cellphone, mobile phone, phone, smartphone, smart phone, telephone, iphone, mobile",
    "microwave": "microwave oven",
    "oven": "stove, stovetop, stove top, stove top oven, range oven",
    "toaster": "",
    "sink": "basin, washbasin, kitchen sink",
    "refrigerator": "fridge, freezer, icebox",
    "book": "novel, textbook, magazine, notebook, text book",
    "clock": "alarm clock, clock tower, wall clock, grandfather clock",
    "vase": "urn",
    "scissors": "scissor, pair of scissors, shears",
    "teddy bear": "teddy, stuffed bear, toy bear, stuffed teddy bear",
    "hair drier": "hair dryer, hairdryer, blow dryer, hairdrier",
    "toothbrush": "tooth brush",
}

# Phrases that contain the name of an object but are not objects.
NO_OBJECTS = (
    "home plate, train track, train station, train tracks, bus stop, bus station, car seat, toilet seat, "
    "toilet paper, toilet brush, table cloth, table tennis, orange juice, apple juice, carrot cake, banana "
    "bread, mouse pad, bed spread, dog house, bird house, bird cage, bird bath, cat food, dog food, dog bed, "
    "boat house, boat dock, car park, phone booth, book shelf, book case, bear costume, orange shirt, orange "
    "jacket, orange vest, orange hat, orange flower, orange cone"
)
# Plurals that follow no rule.
IRREGULAR = {
    "man": "men", "woman": "women", "child": "children", "person": "people", "goose": "geese", "mouse": "mice",
    "knife": "knives", "calf": "calves", "ox": "oxen", "policeman": "policemen", "policewoman": "policewomen",
    "fireman": "firemen", "gentleman": "gentlemen", "wife": "wives", "shelf": "shelves", "sheep": "sheep",
    "aircraft": "aircraft", "cattle": "cattle", "people": "people", "skis": "skis", "scissors": "scissors",
    "shears": "shears", "broccoli": "broccoli", "luggage": "luggage", "tie": "ties", "tooth brush": "tooth brushes",
    "glass of wine": "glasses of wine", "pair of skis": "pairs of skis", "pair of scissors": "pairs of scissors",
}  # fmt: skip
